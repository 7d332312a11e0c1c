//! Samples on their way from the decoder to the card: whoever decodes pushes packets, the card pops periods.

/// Contiguous; moved to the front when the end is reached.
pub(super) struct Fifo<const N: usize> {
    samples: Box<[i16; N]>,
    start: usize,
    end: usize,
}

impl<const N: usize> Fifo<N> {
    pub(super) fn new() -> Fifo<N> {
        Fifo { samples: Box::new([0; N]), start: 0, end: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// The caller pushes one packet at a time, and only while less than a request is here: there is always room.
    pub(super) fn push(&mut self, samples: &[i16]) {
        self.room(samples.len()).copy_from_slice(samples);
    }

    /// A place for so many behind those that are here.
    pub(super) fn room(&mut self, samples: usize) -> &mut [i16] {
        if self.end + samples > N {
            self.samples.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let begin = self.end;
        self.end += samples;
        &mut self.samples[begin..self.end]
    }

    pub(super) fn pop(&mut self, samples: usize) -> &[i16] {
        let popped = self.start..self.start + samples;
        self.start = popped.end;
        if self.start == self.end {
            self.clear();
        }
        &self.samples[popped]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_popped_in_order_however_often_the_end_is_reached() {
        let mut fifo = Fifo::<16_384>::new();
        let (mut pushed, mut popped) = (0i16, 0i16);
        for round in 0..1_000 {
            let packet: Vec<i16> = (0..5_760).map(|at| pushed.wrapping_add(at)).collect();
            pushed = pushed.wrapping_add(5_760);
            fifo.push(&packet);
            while fifo.len() > round % 480 {
                let period = fifo.pop(fifo.len().min(480));
                assert!(period.iter().enumerate().all(|(at, sample)| *sample == popped.wrapping_add(at as i16)));
                popped = popped.wrapping_add(period.len() as i16);
            }
        }
        fifo.clear();
        fifo.push(&[0; 7]);
        assert_eq!(fifo.pop(7), [0; 7]);
        assert_eq!(fifo.len(), 0);
    }
}
