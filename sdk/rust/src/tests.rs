//! Tests of the crate against bytes as the host writes them (hostabi/abi.md).

use crate::wire::Bytes;
use crate::{testing, Error, Jobs, Queues, Victims, NO_TEXT};

crate::job_order!(teams_first);

/// Jobs of the team in param 0 first, then by GPUs times param 1, largest first.
fn teams_first(b: &mut Jobs) -> Result<(), Error> {
    let (team, gpus) = match (b.label(0), b.gpus) {
        (Some(team), Some(gpus)) => (team, gpus),
        _ => return Err(Error::BadInput("größere columns are missing")),
    };
    if b.key0.len() < b.n || b.key1.len() < b.n {
        return Err(Error::BadInput("no keys"));
    }
    if b.param_bool(2, false) {
        return Err(Error::Abstain);
    }
    if b.queue != "root.größe" {
        return Err(Error::Internal("not my queue"));
    }
    let (ours, factor) = (b.param_text(0), b.param_f64(1, 2.0));
    let scratch = b.scratch(b.n).ok_or(Error::Internal("no memory"))?;
    for i in 0..b.n {
        scratch[i] = b.in_use.and_then(|c| c.get(i)).unwrap_or(0);
        b.key0[i] = (team[i] == NO_TEXT || team[i] != ours) as i64;
        b.float_key(1)[i] = factor * gpus[i] as f64 + scratch[i] as f64;
    }
    b.set_keys(2);
    b.descending(1);
    Ok(())
}

fn batch() -> testing::Jobs {
    let label = ["a", "b", "", "b"].iter().map(|s| Some(s.to_string()).filter(|s| !s.is_empty())).collect();
    let mut b = testing::Jobs::new(4);
    b.queue = "root.größe".to_string();
    b.labels = vec![label];
    b.gpus = vec![1, 2, 3, 4];
    b.in_use = vec![Some(0), None, Some(100), Some(0)];
    b.params(["b".into(), 1.5.into(), false.into()]);
    b
}

#[test]
fn a_policy_sees_columns_labels_texts_and_params_and_its_keys_are_in_the_batch() {
    let mut b = batch();
    b.run(teams_first).unwrap();
    assert_eq!(b.key0, [1, 0, 1, 0]);
    assert_eq!(b.key1.iter().map(|&k| f64::from_bits(k as u64)).collect::<Vec<_>>(), [1.5, 3.0, 104.5, 6.0]);
    assert_eq!(b.order(), [3, 1, 2, 0]);
}

#[test]
fn a_policy_without_params_has_its_fallbacks() {
    let mut b = batch();
    b.params(["b".into()]);
    b.run(teams_first).unwrap();
    assert_eq!(f64::from_bits(b.key1[0] as u64), 2.0);
}

#[test]
fn a_refusal_has_its_status_and_its_text_in_whole_characters() {
    let mut b = batch();
    b.labels.clear();
    let mut bytes = b.encode();
    assert_eq!((muster_job_order(&mut bytes), bytes.error_text().as_str()), (2, "größere columns are missing"));
    let mut bytes = b.encode();
    bytes.as_mut()[84..88].copy_from_slice(&3u32.to_le_bytes()); // room for 3 bytes: ö does not fit
    assert_eq!((muster_job_order(&mut bytes), bytes.error_text().as_str()), (2, "gr"));
    let mut b = batch();
    b.queue = "root".to_string();
    assert_eq!(b.run(teams_first), Err(Error::Internal("not my queue")));
    let mut b = batch();
    b.params(["b".into(), 1.0.into(), true.into()]);
    assert_eq!(muster_job_order(&mut b.encode()), 1);
}

#[test]
fn matrices_resources_and_single_elements_have_their_places() {
    let mut b = testing::Queues::new(2, 3);
    b.capacity = vec![10, 20, 30];
    b.demand = vec![1, 99, 3, 99, 5, 99];
    b.resource = ["cpu", "memory", "gpu"].map(String::from).to_vec();
    b.half_life = 100;
    b.run(|b: &mut Queues| {
        let (capacity, demand) = (b.capacity.unwrap(), b.demand.unwrap());
        assert_eq!(b.text(b.resource.unwrap()[2]), "gpu");
        for (i, (entitled, &demand)) in b.entitled.iter_mut().zip(demand).enumerate() {
            *entitled = demand.min(capacity[i % 3]) + b.half_life;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(b.entitled, [101, 120, 103, 110, 105, 130]);
}

#[test]
fn what_was_not_sent_is_told_from_what_is_zero() {
    let mut b = testing::Victims::new(1, 0);
    b.without.insert("victim.leader");
    b.without.insert("victim.reason");
    b.run(|b: &mut Victims| {
        assert!(b.leader.is_none() && b.surplus.is_some() && b.reason.is_empty() && b.cost.len() == 1);
        Ok(())
    })
    .unwrap();
}

#[test]
fn longer_headers_and_descriptors_are_read_and_unknown_columns_ignored() {
    let mut b = batch();
    b.header.strides = (192, 48);
    b.run(teams_first).unwrap();
    assert_eq!(b.order(), [3, 1, 2, 0]);
    let mut bytes = batch().encode();
    bytes.as_mut()[128..136].copy_from_slice(&[0x7f, 1, 0, 0, 77, 0, 3, 0]); // job.queue becomes a column of later
    assert_eq!((muster_job_order(&mut bytes), bytes.error_text().as_str()), (4, "not my queue"));
}

/// Offset of the descriptor of a column.
fn descriptor(bytes: &Bytes, id: u32) -> usize {
    (0..64).map(|i| 128 + 32 * i).find(|&d| bytes.as_ref()[d..d + 4] == id.to_le_bytes()).unwrap()
}

#[test]
fn bytes_that_are_no_batch_are_bad_input() {
    let good = batch().encode();
    let (gpus, key) = (descriptor(&good, 0x0107), descriptor(&good, 0x0181));
    let place = |id| u32::from_le_bytes(good.as_ref()[descriptor(&good, id) + 8..][..4].try_into().unwrap());
    let dict = u32::from_le_bytes(good.as_ref()[92..96].try_into().unwrap());
    for (name, at, value) in [
        ("magic", 0, 1), ("version", 4, 2), ("kind", 16, 2), ("a short header", 8, 64), ("total", 12, 1 << 30),
        ("short descriptors", 32, 31), ("descriptors", 28, 0xffff_fff0), ("params", 68, u32::MAX), ("params at an odd place", 64, 1025),
        ("error text", 84, u32::MAX), ("error text over the header", 80, 0), ("rows", 20, 5), ("dictionary", 92, 0xffff_fff0),
        ("a column", gpus + 8, 0xffff_fff8), ("a column at an odd place", gpus + 8, place(0x0107) + 1), ("a type", gpus + 4, 0x0008_0002),
        ("a bitmap", descriptor(&good, 0x0114) + 16, u32::MAX),
        ("an output over the header", key + 8, 0), ("an output over the descriptors", key + 8, 128),
        ("an output over an input", key + 8, place(0x0107)), ("an output over another", key + 8, place(0x0182)),
        ("an output over the dictionary", key + 8, dict), ("an output over a label", key + 8, place(0x0100_0000)),
    ] {
        let mut bytes = good.clone();
        bytes.as_mut()[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert_eq!(muster_job_order(&mut bytes), 2, "{}", name);
    }
    for n in [0, 1, 127, 128, 1000] {
        assert_eq!(muster_job_order(&mut Bytes::new(&good.as_ref()[..n])), 2, "cut off at {}", n);
    }
}

#[test]
fn whatever_the_bytes_the_answer_is_a_status() {
    let good = batch().encode();
    let (mut seed, mut opened) = (1u64, 0);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..2 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (seed >> 33) as usize % 1000 & !3;
            let value = (seed as u32) >> ((seed >> 60) * 2);
            bytes.as_mut()[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        opened += (muster_job_order(&mut bytes) != 2) as u32;
    }
    assert!((1000..19_000).contains(&opened), "{} opened", opened);
}
