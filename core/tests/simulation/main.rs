//! A cluster in one thread and one seed: speakers, their kernels, a client, and a network that loses, delays and cuts.

mod cluster;
mod scenes;
