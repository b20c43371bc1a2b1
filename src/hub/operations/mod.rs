//! The operations of a hub. Each leads from one part to the next, and the parts do not know each
//! other.

mod announcing;
mod delivering;
mod evicting;
mod flushing;
mod forwarding;
mod inspecting;
mod meeting;
mod posting;
mod presence;
mod publishing;
mod receiving;
mod releasing;
mod retaining;
mod subscribing;
mod subscribing_to_patterns;

pub use presence::Listed;
