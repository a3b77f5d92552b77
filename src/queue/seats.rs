//! Rows that are found by number. Pure.

/// Names a waiter; a larger one came later, and none is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WaiterId {
    came: u64,
    row: u32,
}

/// Whoever has not gone yet. Rows of those who have are used again, so that there are never more
/// than were taken at one time.
#[derive(Debug)]
pub(crate) struct Seats<T> {
    rows: Vec<Option<(WaiterId, T)>>,
    free: Vec<u32>,
    came: u64,
}

#[cfg(test)]
impl WaiterId {
    pub(crate) const fn nth(came: u64) -> Self {
        Self { came, row: 0 }
    }
}

impl<T> Default for Seats<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), free: Vec::new(), came: 0 }
    }
}

impl<T> Seats<T> {
    pub(crate) fn take(&mut self, guest: T) -> WaiterId {
        let row = self.free.pop().unwrap_or_else(|| self.another_row());
        let id = WaiterId { came: self.came, row };
        self.came += 1;
        self.rows[row as usize] = Some((id, guest));
        id
    }

    fn another_row(&mut self) -> u32 {
        self.rows.push(None);
        u32::try_from(self.rows.len() - 1).expect("four billion waiters do not fit in memory")
    }

    pub(crate) fn get(&self, id: WaiterId) -> Option<&T> {
        let row = self.rows.get(id.row as usize)?.as_ref();
        row.filter(|(holder, _)| *holder == id).map(|(_, guest)| guest)
    }

    pub(crate) fn get_mut(&mut self, id: WaiterId) -> Option<&mut T> {
        let row = self.rows.get_mut(id.row as usize)?.as_mut();
        row.filter(|(holder, _)| *holder == id).map(|(_, guest)| guest)
    }

    pub(crate) fn leave(&mut self, id: WaiterId) -> Option<T> {
        let row = self.rows.get_mut(id.row as usize)?;
        let (_, guest) = row.take_if(|(holder, _)| *holder == id)?;
        self.free.push(id.row);
        Some(guest)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (WaiterId, &T)> {
        self.rows.iter().flatten().map(|(id, guest)| (*id, guest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_not_given_twice_and_a_row_is_used_again() {
        let mut seats = Seats::default();
        let first = seats.take('a');
        assert_eq!(seats.leave(first), Some('a'));
        let second = seats.take('b');
        assert!(second > first);
        assert_eq!(seats.get(first), None);
        assert_eq!(seats.leave(first), None);
        assert_eq!(seats.get(second), Some(&'b'));
        assert_eq!(seats.rows.len(), 1);
    }
}
