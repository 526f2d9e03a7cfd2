//! A PostgreSQL of the test's own: one for all tests of a file, each with a database of its own.

use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/postgres/server");

/// The server of this test file; it ends with the process, because the script then reads the end of its input.
pub fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| {
        // Where another user than root may go, too.
        let folder = PathBuf::from("/tmp").join(format!("fhirway-postgres-{}", std::process::id()));
        Postgres::start(&folder)
    })
}

/// One server.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    script: Option<Child>,
}

impl Postgres {
    /// Starts a server with its data in `folder`.
    pub fn start(folder: &Path) -> Self {
        let _old = std::fs::remove_dir_all(folder);
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("there are free ports")
            .port();
        let mut server = Self {
            folder: folder.to_owned(),
            port,
            script: None,
        };
        server.go_on();
        server
    }

    /// Starts it again, with its data and port.
    pub fn go_on(&mut self) {
        let script = Command::new(SCRIPT)
            .arg(&self.folder)
            .arg(self.port.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .expect("tests/postgres/server runs");
        self.script = Some(script);
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                Instant::now() < end,
                "these tests need PostgreSQL, and it does not start (run tests/postgres/install): {}",
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

    /// The URL of a database, which is made if it is new.
    pub async fn database(&self, name: &str) -> String {
        let url = |name: &str| format!("postgres://fhirway@127.0.0.1:{}/{name}", self.port);
        let end = Instant::now() + Duration::from_secs(30);
        let client = loop {
            // It takes connections a moment before it is ready.
            match tokio_postgres::connect(&url("postgres"), tokio_postgres::NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    break client;
                }
                Err(error) => assert!(Instant::now() < end, "{error}: {}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let made = client
            .batch_execute(&format!("CREATE DATABASE \"{name}\""))
            .await;
        if let Err(error) = made {
            let there = tokio_postgres::error::SqlState::DUPLICATE_DATABASE;
            assert_eq!(error.code(), Some(&there), "{error}");
        }
        url(name)
    }

    fn log(&self) -> String {
        ["initdb.log", "server.log"]
            .map(|name| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        let _kept = std::fs::remove_dir_all(&self.folder);
    }
}
