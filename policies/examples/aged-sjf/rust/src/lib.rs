//! aged-sjf: the shortest job first, and waiting makes a job shorter. The key of a job is
//!
//! ```text
//! duration as f64 - aging * (wait as f64)
//! ```
//!
//! ascending, in ns; the product and the difference are rounded one after the other, so
//! that every language gives the same bits. A job that declares no duration counts as one
//! of unknown_duration.
#![cfg_attr(target_arch = "wasm32", no_std)]

use muster::{Error, Jobs};

muster::job_order!(aged_sjf);

const HOUR: i64 = 3_600_000_000_000;

fn aged_sjf(b: &mut Jobs) -> Result<(), Error> {
    let wait = b.wait.ok_or(Error::BadInput("column wait was not sent"))?;
    let duration = b.duration;
    let aging = b.param_f64(0, 0.5);
    let unknown = b.param_i64(1, HOUR);
    let key = b.float_key(0).iter_mut().zip(wait);
    let aged = |d: i64, wait: i64| d as f64 - aging * wait as f64;
    match duration {
        Some(duration) => key.zip(duration).for_each(|((k, &w), &d)| *k = aged(if d < 0 { unknown } else { d }, w)),
        None => key.for_each(|(k, &w)| *k = aged(unknown, w)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster::testing;

    fn batch(durations: &[i64], waits: &[i64]) -> testing::Jobs {
        testing::Jobs { duration: durations.to_vec(), wait: waits.to_vec(), ..testing::Jobs::new(waits.len()) }
    }

    #[test]
    fn the_shortest_job_comes_first() {
        let mut b = batch(&[3 * HOUR, HOUR, 2 * HOUR], &[0, 0, 0]);
        b.run(aged_sjf).unwrap();
        assert_eq!(b.order(), [1, 2, 0]);
    }

    #[test]
    fn waiting_makes_a_job_shorter_as_fast_as_the_param_says() {
        let mut b = batch(&[HOUR, 2 * HOUR], &[0, 3 * HOUR]);
        b.run(aged_sjf).unwrap();
        assert_eq!(b.order(), [1, 0]);
        b.params([0.125.into()]);
        b.run(aged_sjf).unwrap();
        assert_eq!(b.order(), [0, 1]);
    }

    #[test]
    fn a_job_of_unknown_duration_counts_as_the_param_says() {
        let mut b = batch(&[2 * HOUR, muster::UNSET], &[0, 0]);
        b.run(aged_sjf).unwrap();
        assert_eq!(b.order(), [1, 0]);
        b.params([0.5.into(), (5 * HOUR).into()]);
        b.run(aged_sjf).unwrap();
        assert_eq!(b.order(), [0, 1]);
    }

    #[test]
    fn without_durations_the_longest_wait_comes_first_and_without_waits_it_refuses() {
        let mut b = batch(&[0, 0], &[1, HOUR]);
        b.without.insert("job.duration");
        b.run(aged_sjf).unwrap();
        assert_eq!(b.order(), [1, 0]);
        b.without.insert("job.wait");
        assert_eq!(b.run(aged_sjf), Err(Error::BadInput("column wait was not sent")));
    }
}
