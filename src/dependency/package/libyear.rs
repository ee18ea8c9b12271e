//! Libyears: for each dependency the time between the release in use and the newest one; of an image, their sum.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

/// Days of a year, with leap years.
const DAYS_OF_A_YEAR: f64 = 365.25;

/// How far the packages of an image are behind, in years.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Libyears {
    /// Years of all packages together.
    pub total: f64,
    /// Years of one package on average.
    pub mean: f64,
    /// Years of the package that is furthest behind.
    pub worst: f64,
    /// That package, with its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_package: Option<String>,
    /// Packages that this is of: those whose dates are known.
    pub packages: usize,
}

// Its figures are of counted seconds, and never NaN.
impl Eq for Libyears {}

/// A time in years.
pub fn years(time: TimeDelta) -> f64 {
    // Far below 2^53 seconds, where they would no longer be exact.
    #[allow(clippy::cast_precision_loss)]
    let days = time.num_seconds() as f64 / 86_400.0;
    days / DAYS_OF_A_YEAR
}

impl Libyears {
    /// The figures of several images together; `None` where there are none.
    pub fn sum<'a>(images: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let sum = images.into_iter().fold(Self::default(), |sum, one| {
            let worst = if one.worst > sum.worst { one } else { &sum };
            let (worst, worst_package) = (worst.worst, worst.worst_package.clone());
            Self {
                total: sum.total + one.total,
                mean: 0.0,
                worst,
                worst_package,
                packages: sum.packages + one.packages,
            }
        });
        if sum.packages == 0 {
            return None;
        }
        #[allow(clippy::cast_precision_loss)] // a cluster has millions, not 2^53
        let mean = sum.total / sum.packages as f64;
        Some(Self { total: rounded(sum.total), mean: rounded(mean), ..sum })
    }

    /// The figures of some packages, each with its name and how far it is behind; `None` where there are none.
    pub fn of(packages: &[(String, TimeDelta)]) -> Option<Self> {
        let (worst_package, worst) = packages.iter().max_by_key(|(_, time)| *time)?;
        let total: f64 = packages.iter().map(|(_, time)| years(*time)).sum();
        #[allow(clippy::cast_precision_loss)] // an image has thousands, not 2^53
        let mean = total / packages.len() as f64;
        let (total, mean, worst) = (rounded(total), rounded(mean), rounded(years(*worst)));
        let worst_package = (worst > 0.0).then(|| worst_package.clone());
        Some(Self { total, mean, worst, worst_package, packages: packages.len() })
    }
}

/// Three places: a third of a day, which is more than dates tell.
fn rounded(years: f64) -> f64 {
    (years * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_of_all_packages() {
        let behind = [
            ("a 1.0".to_owned(), TimeDelta::hours(24 * 365 + 6)),
            ("b 2.0".to_owned(), TimeDelta::zero()),
            ("c 3.0".to_owned(), TimeDelta::hours(2 * (24 * 365 + 6))),
        ];
        let libyears = Libyears::of(&behind).unwrap();
        assert_eq!((libyears.total, libyears.mean, libyears.worst), (3.0, 1.0, 2.0));
        assert_eq!((libyears.worst_package.as_deref(), libyears.packages), (Some("c 3.0"), 3));
    }

    #[test]
    fn the_figures_of_several_images_are_of_all_their_packages() {
        let year = TimeDelta::hours(24 * 365 + 6);
        let one = Libyears::of(&[("a 1".to_owned(), year), ("b 1".to_owned(), TimeDelta::zero())]).unwrap();
        let other = Libyears::of(&[("c 1".to_owned(), year * 5)]).unwrap();
        let sum = Libyears::sum([&one, &other]).unwrap();
        assert_eq!((sum.total, sum.mean, sum.worst, sum.packages), (6.0, 2.0, 5.0, 3));
        assert_eq!(sum.worst_package.as_deref(), Some("c 1"));
        assert_eq!(Libyears::sum([]), None);
    }

    #[test]
    fn nothing_is_not_zero() {
        assert_eq!(Libyears::of(&[]), None);
        let newest = Libyears::of(&[("a 1.0".to_owned(), TimeDelta::zero())]).unwrap();
        assert_eq!((newest.total, newest.worst_package), (0.0, None));
    }
}
