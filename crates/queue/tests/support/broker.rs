//! A RabbitMQ of the test's own: one for all tests of a file, each with a prefix of its own.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/rabbitmq/broker");

/// The broker of this test file; it ends with the process, because the script then reads the end of its input.
pub fn shared() -> &'static Broker {
    static SHARED: OnceLock<Broker> = OnceLock::new();
    SHARED.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("broker-{}", std::process::id()));
        Broker::start(&folder)
    })
}

/// One broker.
pub struct Broker {
    folder: PathBuf,
    ports: [u16; 3],
    script: Option<Child>,
}

impl Broker {
    /// Starts a broker with its data below `folder`.
    pub fn start(folder: &Path) -> Self {
        assert!(
            Path::new(SERVER).exists(),
            "these tests need RabbitMQ, and {SERVER} is not there: run tests/rabbitmq/install"
        );
        let mut broker = Self {
            folder: folder.to_owned(),
            ports: [free_port(), free_port(), free_port()],
            script: None,
        };
        broker.go_on();
        broker
    }

    /// Starts it again, with its data and ports.
    pub fn go_on(&mut self) {
        let script = Command::new(SCRIPT)
            .arg(&self.folder)
            .args(self.ports.map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .spawn()
            .expect("tests/rabbitmq/broker runs");
        self.script = Some(script);
        let end = Instant::now() + Duration::from_secs(90);
        while TcpStream::connect(("127.0.0.1", self.ports[0])).is_err() {
            assert!(
                Instant::now() < end,
                "the broker does not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        if let Some(mut script) = self.script.take() {
            drop(script.stdin.take());
            script.wait().expect("the script ends");
        }
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.ports[0])
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.join("console.log")).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
        let _kept = fs::remove_dir_all(&self.folder);
    }
}

/// A port of the loopback address that nobody uses at present. It is below those that the system hands out by itself: whoever
/// asks for any port before this one is in use does not get it. Processes begin at different places.
pub fn free_port() -> u16 {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    loop {
        let asked = ASKED.fetch_add(1, Ordering::Relaxed);
        let step = std::process::id().wrapping_mul(41).wrapping_add(asked);
        let port = u16::try_from(10_000 + step % 20_000).expect("below 30,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
