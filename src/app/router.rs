//! Handlers by path.

use super::{Conn, Handler, Notice, Request, Upgrade};
use crate::connection::Close;
use crate::protocol::Message;
use std::any::Any;

/// A handler that passes each connection to the handler of its path. A request for any other
/// path is answered with 404. The query of a request does not count.
///
/// ```
/// use tapecast::{Router, routes};
///
/// let router = Router::new().route("/echo", routes::Echo).route("/feed", routes::Broadcast);
/// ```
#[derive(Default)]
pub struct Router {
    routes: Vec<(String, Box<dyn Route>)>,
}

/// The session of a [`Router`]: the session of its route's handler.
pub struct RouterSession {
    route: usize,
    session: Box<dyn Any>,
}

/// A handler whose session type is hidden.
trait Route {
    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<Box<dyn Any>>;
    fn open(&mut self, conn: &mut Conn<'_, RouterSession>);
    fn message(&mut self, conn: &mut Conn<'_, RouterSession>, message: Message<'_>);
    fn notice(&mut self, conn: &mut Conn<'_, RouterSession>, notice: Notice<'_>);
    fn close(&mut self, session: Box<dyn Any>, close: Close);
}

fn typed<S: 'static>(session: &mut RouterSession) -> &mut S {
    session.session.downcast_mut().expect("a route's session is of the route's type")
}

impl<H: Handler> Route for H
where
    H::Session: 'static,
{
    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<Box<dyn Any>> {
        Handler::upgrade(self, request).map(|session| Box::new(session) as Box<dyn Any>)
    }

    fn open(&mut self, conn: &mut Conn<'_, RouterSession>) {
        Handler::open(self, &mut conn.map(typed));
    }

    fn message(&mut self, conn: &mut Conn<'_, RouterSession>, message: Message<'_>) {
        Handler::message(self, &mut conn.map(typed), message);
    }

    fn notice(&mut self, conn: &mut Conn<'_, RouterSession>, notice: Notice<'_>) {
        Handler::notice(self, &mut conn.map(typed), notice);
    }

    fn close(&mut self, session: Box<dyn Any>, close: Close) {
        let session = session.downcast().expect("a route's session is of the route's type");
        Handler::close(self, *session, close);
    }
}

impl Router {
    /// Creates a router without routes, which answers every request with 404.
    pub fn new() -> Router {
        Router::default()
    }

    /// Adds a handler for exactly this path, as it is written in the request, without a query.
    ///
    /// # Panics
    /// If the path has a handler already, or does not start with `/`.
    #[must_use]
    pub fn route<H>(mut self, path: &str, handler: H) -> Router
    where
        H: Handler + 'static,
        H::Session: 'static,
    {
        assert!(path.starts_with('/'), "a path starts with /");
        assert!(self.routes.iter().all(|route| route.0 != path), "{path} has a handler already");
        self.routes.push((path.to_owned(), Box::new(handler)));
        self
    }
}

impl Handler for Router {
    type Session = RouterSession;

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<RouterSession> {
        let path = request.path();
        match self.routes.iter_mut().position(|route| route.0 == path) {
            Some(route) => self.routes[route]
                .1
                .upgrade(request)
                .map(|session| RouterSession { route, session }),
            None => Upgrade::reject(404),
        }
    }

    fn routes(&self) -> Vec<String> {
        self.routes.iter().map(|route| route.0.clone()).collect()
    }

    fn route_of(&self, session: &RouterSession) -> usize {
        session.route
    }

    fn open(&mut self, conn: &mut Conn<'_, RouterSession>) {
        let route = conn.session().route;
        self.routes[route].1.open(conn);
    }

    #[inline]
    fn message(&mut self, conn: &mut Conn<'_, RouterSession>, message: Message<'_>) {
        let route = conn.session().route;
        self.routes[route].1.message(conn, message);
    }

    fn notice(&mut self, conn: &mut Conn<'_, RouterSession>, notice: Notice<'_>) {
        let route = conn.session().route;
        self.routes[route].1.notice(conn, notice);
    }

    fn close(&mut self, session: RouterSession, close: Close) {
        self.routes[session.route].1.close(session.session, close);
    }
}
