//! What `signalbox dev` says: one line for each thing that happened, with the time since the start.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use crate::paint::{Painter, Tone};

/// Speaks to the terminal.
#[derive(Clone, Debug)]
pub struct Voice {
    begun: Arc<Instant>,
    painter: Painter,
}

impl Voice {
    /// Starts the clock.
    #[must_use]
    pub fn new(painter: Painter) -> Self {
        Self {
            begun: Arc::new(Instant::now()),
            painter,
        }
    }

    /// A chapter of the demo.
    pub fn chapter(&self, text: &str) {
        self.line("►", Tone::Strong, text);
    }

    /// Something that was checked and holds.
    pub fn good(&self, text: &str) {
        self.line("✔", Tone::Good, text);
    }

    /// Something that was checked and does not hold.
    pub fn bad(&self, text: &str) {
        self.line("✖", Tone::Bad, text);
    }

    /// Something that happened.
    pub fn tell(&self, text: &str) {
        self.line("·", Tone::Dim, text);
    }

    /// Lines as they are, without time.
    pub fn show(&self, lines: &[String]) {
        crate::cmd::print(lines);
    }

    /// How to colour.
    #[must_use]
    pub const fn painter(&self) -> Painter {
        self.painter
    }

    fn line(&self, glyph: &str, tone: Tone, text: &str) {
        let seconds = self.begun.elapsed().as_secs_f32();
        let time = self.painter.paint(Tone::Dim, &format!("{seconds:6.1}s"));
        let mark = self.painter.paint(tone, glyph);
        let text = if tone == Tone::Strong {
            self.painter.paint(tone, text)
        } else {
            text.to_owned()
        };
        // A closed terminal ends the process by its signal.
        let _ = writeln!(std::io::stdout(), "{time} {mark} {text}");
    }
}
