//! The brain in a simulated world.

mod server;
mod simulation;
