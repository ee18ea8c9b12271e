//! A runtime of its own for what can wait, on threads that give way: on one core, storing what is recorded must not hold
//! up the answers. Threads started from it, SQLite's among them, inherit that they give way.

use std::future::Future;
use std::io;

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Niceness of its threads, the greatest there is; it counts where the system refuses more than that.
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

/// On Linux priority is a thread's; elsewhere it would be the whole program's.
///
/// Niceness alone lets a thread finish its slice, some milliseconds, while the journal has an answer to give. One that is
/// scheduled as idle gives way at once, and gets what the answers of this container leave.
fn give_way() {
    #[cfg(target_os = "linux")]
    {
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
            tracing::debug!(?error, "a background thread is not scheduled as idle");
        }
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!(%error, "a background thread keeps the usual priority");
        }
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
    use thread_priority::thread_schedule_policy;

    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn its_threads_and_theirs_give_way_and_others_do_not() {
        let priority = || (thread_schedule_policy().unwrap(), rustix::process::getpriority_process(None).unwrap());
        let (here, background) = (priority(), Background::start().unwrap());
        let there = run_on(&background.handle(), async move {
            let blocking = finished(tokio::task::spawn_blocking(priority)).await;
            [priority(), blocking, std::thread::spawn(priority).join().unwrap()]
        })
        .await;
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        assert_eq!(there, [(idle, NICENESS); 3]);
        assert_eq!(priority(), here);
        assert_ne!(here, (idle, NICENESS));
    }
}
