//! A virtual sound card.
