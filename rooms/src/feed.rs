//! The reader: order, gaps, repeats.
