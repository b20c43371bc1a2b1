//! Layer 5: protocols over the hub, each a handler and the lane that encodes its messages.
//! They know the public API, and neither the ring nor the shard.

pub mod json;
