//! The guest side of Muster's policy ABI, for policies in Rust that are compiled to
//! WebAssembly. It uses no standard library and no other crate. A whole policy:
//!
//! ```ignore
//! #![cfg_attr(target_arch = "wasm32", no_std)]
//! use muster::{Error, Jobs};
//!
//! muster::job_order!(newest_first);
//!
//! fn newest_first(b: &mut Jobs) -> Result<(), Error> {
//!     let submit = b.submit.ok_or(Error::BadInput("job.submit was not sent"))?;
//!     for (key, submit) in b.key0.iter_mut().zip(submit) {
//!         *key = -submit;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Columns are slices of the batch, so nothing is copied or allocated. Keep no state
//! between calls: the same batch must give the same bits in every instance.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![deny(missing_docs)]

mod batch;
mod columns;
mod export;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
#[cfg(test)]
mod tests;
#[cfg(not(target_arch = "wasm32"))]
pub mod wire;

pub use batch::{Call, Nullable};
pub use columns::{Jobs, Queues, Victims};
#[doc(hidden)]
pub use export::serve;
pub use export::{count, log};

/// An amount that was not configured, or is not known.
pub const UNSET: i64 = -1;
/// A maximum that was not configured.
pub const NO_MAX: i64 = i64::MAX;
/// The whole of a share.
pub const ONE: i64 = 1 << 32;
/// A text that is not there: a job without the label.
pub const NO_TEXT: u32 = u32::MAX;

/// Why a policy decides nothing. The host then decides by its built-in policy, this
/// time, and shows the text to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Let the built-in policy decide.
    Abstain,
    /// The batch makes no sense.
    BadInput(&'static str),
    /// The parameters make no sense.
    BadParams(&'static str),
    /// A fault of the policy.
    Internal(&'static str),
}

impl Error {
    fn status(self) -> (u32, &'static str) {
        match self {
            Error::Abstain => (1, ""),
            Error::BadInput(text) => (2, text),
            Error::BadParams(text) => (3, text),
            Error::Internal(text) => (4, text),
        }
    }
}

/// A param, for tests: `b.params([0.5.into(), "research".into()])`.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// An i64, or a duration in ns.
    I64(i64),
    /// An f64.
    F64(f64),
    /// A bool.
    Bool(bool),
    /// A string.
    Text(String),
}

#[cfg(not(target_arch = "wasm32"))]
mod from {
    use super::Param;
    impl From<i64> for Param {
        fn from(v: i64) -> Param {
            Param::I64(v)
        }
    }
    impl From<f64> for Param {
        fn from(v: f64) -> Param {
            Param::F64(v)
        }
    }
    impl From<bool> for Param {
        fn from(v: bool) -> Param {
            Param::Bool(v)
        }
    }
    impl From<&str> for Param {
        fn from(v: &str) -> Param {
            Param::Text(v.to_string())
        }
    }
}

/// Makes the module decide the order of jobs: `job_order!(policy)`, where policy is a
/// `fn(&mut Jobs) -> Result<(), Error>`.
#[macro_export]
macro_rules! job_order {
    ($policy:path) => {
        $crate::kind!(muster_job_order, $crate::Jobs, $policy);
    };
}

/// Makes the module decide what each queue is entitled to; see `job_order`.
#[macro_export]
macro_rules! queue_shares {
    ($policy:path) => {
        $crate::kind!(muster_queue_shares, $crate::Queues, $policy);
    };
}

/// Makes the module decide the price of each eviction; see `job_order`.
#[macro_export]
macro_rules! victim_costs {
    ($policy:path) => {
        $crate::kind!(muster_victim_costs, $crate::Victims, $policy);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! kind {
    ($export:ident, $batch:path, $policy:path) => {
        /// Answers one batch; the host calls it.
        #[cfg(target_arch = "wasm32")]
        #[no_mangle]
        pub extern "C" fn $export(batch: u32) -> u32 {
            $crate::serve(batch, |b: &mut $batch| $policy(b))
        }

        /// Answers one batch; the host calls it, in Wasm.
        #[cfg(not(target_arch = "wasm32"))]
        pub fn $export(batch: &mut $crate::wire::Bytes) -> u32 {
            $crate::serve(batch, |b: &mut $batch| $policy(b))
        }
    };
}
