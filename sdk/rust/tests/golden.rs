//! The batches of hostabi/testdata, which the host's own encoder wrote. Run it in the
//! root of the repository: tools/sdks.sh does.

use muster::wire::Bytes;
use muster::{Error, Jobs, NO_TEXT, UNSET};

muster::job_order!(favoured_first);

fn golden(name: &str) -> Bytes {
    Bytes::new(&std::fs::read(format!("hostabi/testdata/{}.mbatch", name)).unwrap())
}

/// Jobs of the favoured team first; without labels, by waiting time.
fn favoured_first(b: &mut Jobs) -> Result<(), Error> {
    let team = match b.label(0) {
        Some(team) => team,
        None => return oldest_host(b),
    };
    assert_eq!((b.n, b.now, b.seed, b.cycle, b.queue), (3, 1000, 42, 7, ""));
    assert_eq!(b.priority.unwrap(), [5, -1, 7]);
    assert!(b.wait.is_none() && b.label(1).is_none());
    let used = b.in_use.unwrap();
    assert_eq!([used.get(0), used.get(1), used.get(2)], [Some(1 << 31), None, Some(0)]);
    assert_eq!(used.raw()[1], UNSET);
    assert_eq!((b.param_f64(0, 0.0), b.text(b.param_text(1)), b.param_text(2)), (1.5, "gold", NO_TEXT));
    assert_eq!((b.text(team[0]), team[1]), ("silver", NO_TEXT));
    for i in 0..b.n {
        b.key0[i] = if team[i] == b.param_text(1) { -1 } else { 0 };
        b.explain(i, 1); // the batch has no reasons
    }
    Ok(())
}

fn oldest_host(b: &mut Jobs) -> Result<(), Error> {
    assert_eq!(b.queue, "root.research");
    assert!(b.in_use.is_none() && b.user_name.is_none() && b.param_i64(0, 77) == 77);
    b.key0.copy_from_slice(b.wait.unwrap());
    Ok(())
}

fn keys(bytes: &Bytes) -> Vec<i64> {
    let bytes = bytes.as_ref();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let d = (0..).map(|i| word(28) + i * word(32)).find(|&d| word(d) == 0x0181).unwrap();
    let elements = &bytes[word(d + 8)..][..8 * word(20)];
    elements.chunks(8).map(|e| i64::from_le_bytes(e.try_into().unwrap())).collect()
}

#[test]
fn the_hosts_own_batches_are_read() {
    for (name, want) in [("example", [0, 0, -1]), ("later", [0, 0, -1]), ("v1.0", [30, 20, 10])] {
        let mut bytes = golden(name);
        assert_eq!(muster_job_order(&mut bytes), 0, "{}", name);
        assert_eq!(keys(&bytes), want, "{}", name);
    }
}
