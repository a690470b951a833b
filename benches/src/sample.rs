//! The figures of one measure on one family.

/// Figures in one unit.
#[derive(Clone, Debug, Default)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// How many there are.
    pub fn runs(&self) -> usize {
        self.0.len()
    }

    /// Adds one.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The one in the middle, or the mean of the two there; nothing if there is none.
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        if sorted.len() % 2 == 1 {
            return Some(upper);
        }
        Some(f64::midpoint(upper, *sorted.get(middle - 1)?))
    }

    /// The smallest and the largest.
    pub fn range(&self) -> Option<(f64, f64)> {
        Some((self.0.iter().copied().min_by(f64::total_cmp)?, self.0.iter().copied().max_by(f64::total_cmp)?))
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_number_is_the_middle_one() {
        assert_eq!(Sample::from_iter([9.0, 1.0, 2.0]).median(), Some(2.0));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(Sample::from_iter([9.0, 1.0, 2.0, 3.0]).median(), Some(2.5));
    }

    #[test]
    fn nothing_has_no_median() {
        assert_eq!((Sample::default().median(), Sample::default().range()), (None, None));
    }

    #[test]
    fn the_range_has_the_extremes() {
        assert_eq!(Sample::from_iter([2.0, 9.0, 1.0]).range(), Some((1.0, 9.0)));
    }
}
