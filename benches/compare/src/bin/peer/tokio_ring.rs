//! An echo server written by hand on tokio-uring, the way its documentation shows: a task and
//! a buffer per connection. It shows what io_uring gives without multishot operations and
//! provided buffers. The buffer holds what was received, is turned into the echoes in place,
//! and is sent from. It grows to the longest frame and does not shrink.

use super::frames::{self, ECHO_OFFSET, Echo, Parsed};
use super::{handshake, listener};
use std::convert::Infallible;
use std::io;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

const BUFFER_BYTES: usize = 4 * 1024;
/// A busy turn of a thousand connections fits without an early submission.
const SUBMISSIONS: u32 = 4096;
const COMPLETIONS: u32 = 16 * 1024;

/// Serves the connections of `listener`; returns only with an error.
pub fn serve(listener: std::net::TcpListener) -> io::Result<Infallible> {
    let address = listener.local_addr()?;
    // Completions need no interrupt, for the only thread is about to enter the kernel anyway.
    // Task runs can't be deferred, for the runtime waits in epoll.
    let mut ring = tokio_uring::uring_builder();
    ring.setup_single_issuer().setup_coop_taskrun().setup_cqsize(COMPLETIONS);
    tokio_uring::builder().entries(SUBMISSIONS).uring_builder(&ring).start(async move {
        let listener = tokio_uring::net::TcpListener::from_std(listener);
        listener::announce(address);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio_uring::spawn(connection(stream))),
                // Out of descriptors: wait until connections have closed.
                Err(error) => {
                    eprintln!("tapecast-peer: accept: {error}");
                    std::thread::sleep(listener::ACCEPT_PAUSE);
                }
            }
        }
    })
}

async fn connection(stream: TcpStream) {
    // The client reports a connection that breaks.
    let _ = echo(&stream).await;
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

/// Appends the next bytes. The end of the stream is an error.
async fn receive(stream: &TcpStream, buffer: Vec<u8>) -> io::Result<Vec<u8>> {
    let filled = buffer.len();
    let (result, slice) = stream.read(buffer.slice(filled..)).await;
    match result? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(slice.into_inner()),
    }
}

async fn shake_hands(stream: &TcpStream, mut buffer: Vec<u8>) -> io::Result<Vec<u8>> {
    let head_bytes = loop {
        buffer = receive(stream, buffer).await?;
        match handshake::head_bytes(&buffer) {
            Some(bytes) => break bytes,
            None if buffer.len() == buffer.capacity() => {
                return Err(io::ErrorKind::InvalidData.into());
            }
            None => {}
        }
    };
    let response = handshake::response(&buffer[..head_bytes]);
    let response = response.ok_or(io::ErrorKind::InvalidData)?.into_bytes();
    stream.write_all(response).await.0?;
    buffer.drain(..head_bytes);
    Ok(buffer)
}

/// A buffer whose complete frames were turned into echoes.
struct Echoes {
    /// The echoes are from [`ECHO_OFFSET`] to here.
    end: usize,
    /// The first incomplete frame starts here.
    rest: usize,
    /// Its length once it is complete, as far as it is known.
    rest_bytes: usize,
    ends: bool,
}

/// Turns the complete frames of `buffer` into echoes without a gap. The first one stays in
/// place; each of the others moves down by four more bytes.
fn make_echoes(buffer: &mut [u8]) -> io::Result<Echoes> {
    let mut echoes = Echoes { end: ECHO_OFFSET, rest: 0, rest_bytes: 0, ends: false };
    while !echoes.ends {
        let frame = match frames::parse(&buffer[echoes.rest..]) {
            Parsed::Frame(frame) => frame,
            Parsed::Needs(bytes) => {
                echoes.rest_bytes = bytes;
                break;
            }
            Parsed::Fault => return Err(io::ErrorKind::InvalidData.into()),
        };
        let start = echoes.rest;
        echoes.rest += frame.bytes();
        let echo = frame.make_echo(&mut buffer[start..echoes.rest]);
        if echo != Echo::Silence {
            let source = start + ECHO_OFFSET..echoes.rest;
            let moved_to = echoes.end;
            echoes.end += source.len();
            if moved_to != source.start {
                buffer.copy_within(source, moved_to);
            }
        }
        echoes.ends = echo == Echo::SendAndEnd;
    }
    Ok(echoes)
}

async fn echo(stream: &TcpStream) -> io::Result<()> {
    let mut buffer = shake_hands(stream, Vec::with_capacity(BUFFER_BYTES)).await?;
    loop {
        let echoes = make_echoes(&mut buffer)?;
        if echoes.end > ECHO_OFFSET {
            let (result, slice) = stream.write_all(buffer.slice(ECHO_OFFSET..echoes.end)).await;
            result?;
            buffer = slice.into_inner();
        }
        if echoes.ends {
            return Ok(());
        }
        if echoes.rest > 0 {
            buffer.copy_within(echoes.rest.., 0);
            buffer.truncate(buffer.len() - echoes.rest);
        }
        if echoes.rest_bytes > buffer.capacity() {
            buffer.reserve_exact(echoes.rest_bytes - buffer.len());
        }
        buffer = receive(stream, buffer).await?;
    }
}
