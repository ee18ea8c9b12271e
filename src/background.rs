//! A runtime of its own for what can wait, on threads that give way: on one core, storing what is recorded must not hold
//! up the answers. Threads started from it, SQLite's among them, inherit the lower priority.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Niceness of its threads, the greatest there is: where the processor is contended they get about a fiftieth of it, and
/// all of it where not. Whoever waits for an answer comes first; what waits here is on the disk already.
const NICENESS: i32 = 19;

/// The runtime. It ends when this is dropped, and what runs there with it.
#[derive(Debug)]
pub struct Background {
    runtime: Option<Runtime>,
}

impl Background {
    /// Starts its threads; an error says that the system gave none.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("background")
            .enable_all()
            .on_thread_start(give_way)
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// What tasks are spawned on; where there is no runtime, the caller's.
    pub fn handle(&self) -> Handle {
        self.runtime.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The usual drop waits, which is not allowed inside another runtime.
            runtime.shutdown_background();
        }
    }
}

/// On Linux niceness is a thread's; elsewhere it would be the whole program's.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "a background thread keeps the usual priority");
    }
}

/// What a task returns; its panic goes on in whoever waits for it.
pub async fn finished<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Runs a future on another runtime.
pub async fn run_on<T: Send + 'static>(handle: &Handle, work: impl Future<Output = T> + Send + 'static) -> T {
    finished(handle.spawn(work)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn its_threads_and_theirs_give_way_and_others_do_not() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let (here, background) = (niceness(), Background::start().unwrap());
        let there = run_on(&background.handle(), async move {
            let blocking = finished(tokio::task::spawn_blocking(niceness)).await;
            (niceness(), blocking, std::thread::spawn(niceness).join().unwrap())
        })
        .await;
        assert_eq!(there, (NICENESS, NICENESS, NICENESS));
        assert_eq!(niceness(), here);
    }
}
