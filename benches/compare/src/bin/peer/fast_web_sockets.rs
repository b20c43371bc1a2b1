//! An echo server on fastwebsockets and tokio. The handshake is done by hand, because the
//! crate's own brings hyper along and leaves a boxed stream between the library and the
//! socket. This is the library at its best.

use super::{handshake, listener};
use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket, WebSocketError};
use std::convert::Infallible;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Serves the connections of `listener`; returns only with an error.
pub fn serve(listener: std::net::TcpListener) -> io::Result<Infallible> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener)?;
        listener::announce(listener.local_addr()?);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(connection(stream))),
                // Out of descriptors: wait until connections have closed.
                Err(error) => {
                    eprintln!("tapecast-peer: accept: {error}");
                    std::thread::sleep(listener::ACCEPT_PAUSE);
                }
            }
        }
    })
}

async fn connection(mut stream: TcpStream) {
    // The client reports a connection that breaks.
    if shake_hands(&mut stream).await.is_ok() {
        let _ = echo(stream).await;
    }
}

async fn shake_hands(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    while handshake::head_bytes(&head).is_none() {
        if head.len() > handshake::HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    // RFC 6455, 4.1: a client sends nothing before it has the answer. The
    // library takes no bytes that were already read.
    if !head.ends_with(b"\r\n\r\n") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let response = handshake::response(&head).ok_or(io::ErrorKind::InvalidData)?;
    stream.write_all(response.as_bytes()).await
}

async fn echo(stream: TcpStream) -> Result<(), WebSocketError> {
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    socket.set_auto_close(true);
    socket.set_auto_pong(true);
    socket.set_writev(true);
    socket.set_max_message_size(MESSAGE_BYTES_MAX);
    let mut socket = FragmentCollector::new(socket);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
}
