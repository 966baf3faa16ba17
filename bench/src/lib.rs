//! Load, order flow and measurement for Quorate.
