//! The cells of the comparison, as data: one measurement each.

/// The layer that a message passes between the program and the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    None,
    Tls,
    Deflate,
}

/// One line of the comparison.
#[derive(Debug)]
pub struct Cell {
    /// Its name in the table.
    pub name: String,
    /// The profile of the load generator.
    pub scenario: &'static str,
    pub connections: u32,
    pub size: usize,
    /// Closed loop: messages in flight per connection.
    pub in_flight: u32,
    /// Open model: messages a second instead.
    pub rate: Option<u32>,
    /// A server with it is compared with one without it.
    pub layer: Layer,
    /// Whether `--quick` includes it.
    pub is_quick: bool,
}

/// Publications a second where messages are compressed: half of what a core of readers can
/// inflate. At their limit, the cell would measure the readers, and the server would send
/// less.
const DEFLATE_RATE: u32 = 400;

/// Every cell.
pub fn all() -> Vec<Cell> {
    let echo = [
        (50, 20, 1),
        (500, 64, 1),
        (200, 20, 10),
        (512, 5, 16),
        (200, 1 << 10, 1),
        (50, 16 << 10, 1),
        (200, 64 << 10, 1),
        (20, 1 << 20, 1),
    ];
    let broadcast = [(64, 1), (64, 16), (64, 24), (64, 64), (64, 256), (1 << 10, 16)];
    let mut cells = Vec::new();
    for (connections, size, in_flight) in echo {
        cells.push(Cell {
            name: format!("echo {connections} x {size} B, {in_flight} in flight"),
            scenario: "echo",
            connections,
            size,
            in_flight,
            rate: None,
            layer: Layer::None,
            is_quick: size == 20 && in_flight == 1,
        });
    }
    for (size, in_flight) in broadcast {
        cells.push(Cell {
            name: format!("broadcast 500 x {size} B, window {in_flight}"),
            scenario: "broadcast",
            connections: 500,
            size,
            in_flight,
            rate: None,
            layer: Layer::None,
            is_quick: in_flight == 64,
        });
    }
    cells.push(Cell {
        name: "memory, 10000 idle connections".into(),
        scenario: "idle",
        connections: 10_000,
        size: 0,
        in_flight: 1,
        rate: None,
        layer: Layer::None,
        is_quick: false,
    });
    let tls = [
        ("echo", 200, 64, 10),
        ("echo", 50, 16 << 10, 1),
        ("broadcast", 500, 64, 64),
        ("connect-storm", 1_000, 64, 32),
    ];
    for (scenario, connections, size, in_flight) in tls {
        cells.push(Cell {
            name: format!("wss {scenario} {connections} x {size} B, {in_flight} in flight"),
            scenario,
            connections,
            size,
            in_flight,
            rate: None,
            layer: Layer::Tls,
            is_quick: in_flight == 10,
        });
    }
    cells.push(Cell {
        name: format!("deflate broadcast 500 x 1024 B of JSON, {DEFLATE_RATE} a second"),
        scenario: "broadcast",
        connections: 500,
        size: 1 << 10,
        in_flight: 1,
        rate: Some(DEFLATE_RATE),
        layer: Layer::Deflate,
        is_quick: true,
    });
    cells
}
