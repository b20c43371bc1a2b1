//! Echo and broadcast on tokio-tungstenite, tuned. Its default read buffer of 128 KiB per
//! connection cost 134 KB per idle connection; one of 16 KiB costs 19 KB. Messages that are
//! ready at the same time are answered by one flush.

use super::listener;
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::convert::Infallible;
use std::io;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, Receiver, Sender, error::TryRecvError};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse};
use tokio_tungstenite::tungstenite::http::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

const BUFFER_BYTES: usize = 16 * 1024;
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// A subscriber that is more messages behind is dropped.
const BROADCAST_MESSAGES_MAX: usize = 64 * 1024;

type Socket = WebSocketStream<TcpStream>;

/// Serves the connections of `listener`; returns only with an error.
pub fn serve(listener: std::net::TcpListener) -> io::Result<Infallible> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener)?;
        let (publications, _) = broadcast::channel(BROADCAST_MESSAGES_MAX);
        listener::announce(listener.local_addr()?);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(connection(stream, publications.clone()))),
                // Out of descriptors: wait until connections have closed.
                Err(error) => {
                    eprintln!("tapecast-peer: accept: {error}");
                    std::thread::sleep(listener::ACCEPT_PAUSE);
                }
            }
        }
    })
}

/// Notes whether the request asks for the broadcast.
struct Path<'a> {
    is_broadcast: &'a mut bool,
}

impl Callback for Path<'_> {
    fn on_request(
        self,
        request: &Request<()>,
        response: Response<()>,
    ) -> Result<Response<()>, ErrorResponse> {
        *self.is_broadcast = request.uri().path() == "/broadcast";
        Ok(response)
    }
}

async fn connection(stream: TcpStream, publications: Sender<Message>) {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let mut is_broadcast = false;
    let path = Path { is_broadcast: &mut is_broadcast };
    let accepted = tokio_tungstenite::accept_hdr_async_with_config(stream, path, Some(config));
    let Ok(mut socket) = accepted.await else {
        return;
    };
    // The client reports a connection that breaks.
    let _ = if is_broadcast {
        broadcast(&mut socket, publications).await
    } else {
        drop(publications);
        echo(&mut socket).await
    };
}

/// Whether this program answers a message. The library itself answers pings and close frames
/// while it is read from.
fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}

async fn echo(socket: &mut Socket) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        let mut ready = Some(message);
        while let Some(message) = ready {
            let message = message?;
            if is_data(&message) {
                socket.feed(message).await?;
            }
            ready = socket.next().now_or_never().flatten();
        }
        socket.flush().await?;
    }
    Ok(())
}

async fn broadcast(socket: &mut Socket, publications: Sender<Message>) -> Result<(), Error> {
    let mut subscription = publications.subscribe();
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(message) => publish(socket, message?, &publications)?,
                None => return Ok(()),
            },
            publication = subscription.recv() => match publication {
                Ok(publication) => deliver(socket, publication, &mut subscription).await?,
                Err(error) => return Err(dropped(error)),
            },
        }
    }
}

/// Publishes `message` and all messages that have arrived after it.
fn publish(
    socket: &mut Socket,
    message: Message,
    publications: &Sender<Message>,
) -> Result<(), Error> {
    let mut ready = Some(Ok(message));
    while let Some(message) = ready {
        let message = message?;
        if is_data(&message) {
            // Fails only without subscribers, and this connection is one.
            let _ = publications.send(message);
        }
        ready = socket.next().now_or_never().flatten();
    }
    Ok(())
}

/// Sends `publication` and all that are queued after it with one flush.
async fn deliver(
    socket: &mut Socket,
    publication: Message,
    subscription: &mut Receiver<Message>,
) -> Result<(), Error> {
    let mut queued = Ok(publication);
    while let Ok(publication) = queued {
        socket.feed(publication).await?;
        queued = subscription.try_recv();
    }
    match queued {
        Err(TryRecvError::Lagged(_)) => Err(dropped("it fell too far behind")),
        _ => socket.flush().await,
    }
}

/// Drops a subscriber with a line in the log. Losses without a report would make this peer look
/// fast.
fn dropped(reason: impl std::fmt::Display) -> Error {
    eprintln!("tapecast-peer: dropped a subscriber: {reason}");
    Error::AlreadyClosed
}
