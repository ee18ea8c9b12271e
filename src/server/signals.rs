//! The first signal to stop lets what is under way end; the second ends the process at once.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for the first SIGTERM or SIGINT; from then on another one exits with 128 and its number.
pub async fn first_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        let code = tokio::select! {
            _ = terminate.recv() => 143,
            _ = interrupt.recv() => 130,
        };
        tracing::warn!("a second signal: ending at once");
        std::process::exit(code);
    });
    Ok(())
}
