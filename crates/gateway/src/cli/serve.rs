//! `fhirway serve`: run the gateway.

use std::sync::Arc;

use super::{ConfigArg, Failure, Outcome, Verdict, load_config, runtime};
use crate::{gateway::Gateway, logging, reload::Trigger, shutdown};

/// Run the gateway until SIGTERM or Ctrl-C.
///
/// Nothing is accepted before the configuration and the mapping are found right, the queue is open and every
/// port is bound. At the end what is in flight is finished; a second signal ends at once. SIGHUP reads the mapping
/// packages again, and keeps the old ones if there is a mistake.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway serve                              the embedded configuration: MLLP on 127.0.0.1:2575,
                                             FHIR at http://127.0.0.1:8090/fhir, data in ./data
  fhirway serve --config /etc/fhirway.yaml
  FHIRWAY__LOG__LEVEL=debug fhirway serve

Exit code: 0 after a drain, 1 when it cannot start, 2 when the configuration has errors.")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config(&args.config)?;
    logging::init(&config.log);
    runtime()?.block_on(async {
        let gateway = Gateway::start(config)
            .await
            .map_err(|error| Failure::run(&error))?;
        let packages = gateway.packages();
        tokio::spawn(shutdown::hangups(move || {
            let packages = Arc::clone(&packages);
            // What is wrong has been logged and counted.
            async move { drop(packages.reload(Trigger::Signal).await) }
        }));
        gateway.run(shutdown::requested()).await;
        Ok(Verdict::Good)
    })
}
