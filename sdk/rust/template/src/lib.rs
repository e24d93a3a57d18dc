//! my-policy: a job order. Jobs of higher priority come first, and waiting raises a job:
//! by one for each full hour that it has waited, times the param boost.
#![cfg_attr(target_arch = "wasm32", no_std)]

use muster::{Error, Jobs};

muster::job_order!(my_policy);

const HOUR: i64 = 3_600_000_000_000;

fn my_policy(b: &mut Jobs) -> Result<(), Error> {
    // Columns that policy.yaml lists under required. An optional one is None if the host
    // does not have it.
    let priority = b.priority.ok_or(Error::BadInput("job.priority was not sent"))?;
    let wait = b.wait.ok_or(Error::BadInput("job.wait was not sent"))?;
    // Slot 0 is the first param of policy.yaml; give its default once more.
    let boost = b.param_i64(0, 1);

    for ((key, priority), wait) in b.key0.iter_mut().zip(priority).zip(wait) {
        let raised = priority.wrapping_add(boost.wrapping_mul(wait / HOUR));
        *key = raised.wrapping_neg(); // the smallest key runs first
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster::testing;

    #[test]
    fn the_highest_priority_comes_first() {
        let mut b = testing::Jobs::new(3); // every column, all zeros
        b.priority = vec![0, 10, 5];
        b.run(my_policy).unwrap();
        assert_eq!(b.order(), [1, 2, 0]);
    }

    #[test]
    fn waiting_raises_a_job() {
        let mut b = testing::Jobs::new(2);
        b.priority = vec![2, 0];
        b.wait = vec![0, 3 * HOUR];
        b.run(my_policy).unwrap();
        assert_eq!(b.order(), [1, 0]);
        b.params([0.into()]); // boost
        b.run(my_policy).unwrap();
        assert_eq!(b.order(), [0, 1]);
    }
}
