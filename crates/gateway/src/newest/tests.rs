use super::*;

fn key(number: u128) -> ResourceKey {
    ResourceKey::new("fhir", "Patient", uuid::Uuid::from_u128(number))
}

fn time(event: i64, issued: Option<i64>) -> SourceTime {
    SourceTime::stored(event, true, issued)
}

#[tokio::test]
async fn the_newest_stays_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let newest = Newest::open(folder.path()).unwrap();
    assert_eq!(newest.get(key(1)), None);
    newest
        .note(vec![(key(1), time(10, None)), (key(2), time(20, Some(7)))])
        .await
        .unwrap();
    newest
        .note(vec![(key(1), time(5, Some(3))), (key(2), time(30, None))])
        .await
        .unwrap();
    drop(newest);
    let newest = Newest::open(folder.path()).unwrap();
    assert_eq!(newest.get(key(1)), Some(time(10, Some(3))));
    assert_eq!(newest.get(key(2)), Some(time(30, Some(7))));
    assert_eq!(newest.get(key(3)), None);
}

#[test]
fn keys_differ_by_destination_type_and_id() {
    let id = uuid::Uuid::from_u128(1);
    let keys = [
        ResourceKey::new("a", "Patient", id),
        ResourceKey::new("b", "Patient", id),
        ResourceKey::new("a", "Group", id),
        ResourceKey::new("a", "Patient", uuid::Uuid::from_u128(2)),
    ];
    for (place, key) in keys.iter().enumerate() {
        assert!(!keys[..place].contains(key));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let newest = Newest::open(folder.path()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let newest = Arc::clone(&newest);
        tasks.spawn(async move {
            newest
                .note(vec![(key(number % 10), time(number as i64, None))])
                .await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    for number in 0..10 {
        assert_eq!(
            newest.get(key(number)),
            Some(time(190 + number as i64, None))
        );
    }
}
