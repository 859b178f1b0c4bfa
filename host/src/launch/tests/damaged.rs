//! What becomes of a task whose record cannot be read.

use super::*;

#[tokio::test]
async fn a_task_whose_record_and_request_are_damaged_ends_once_no_job_holds_it() {
    let mut world = World::new(&[]);
    let id = world.store("a", 0).await;
    let bucket = Arc::clone(world.tasks.bucket());
    let lease = Lease::take(Arc::clone(&bucket), &id, std::time::Duration::from_secs(60))
        .await
        .unwrap();
    let name = crate::task::names::record(&id);
    let broken = bytes::Bytes::from_static(b"{\"taskId\":");
    let always = crate::bucket::When::Always;
    let buffered = crate::bucket::Durability::Buffered;
    bucket
        .put(&name, broken.clone(), always, buffered)
        .await
        .unwrap();

    // A job has it; a gateway that comes leaves it alone.
    world.dispatcher().await.stop().await;
    assert!(world.tasks.get(&id).await.is_err());

    drop(lease);
    bucket
        .delete(&crate::task::names::lease(&id), crate::bucket::When::Always)
        .await
        .unwrap();
    let dispatcher = world.dispatcher().await;
    let record = world.over(&id).await;
    assert_eq!(
        (record.status, record.reason),
        (Status::Failed, Some(Reason::Internal))
    );
    assert_eq!(record.tenant, crate::access::NOBODY);
    assert_eq!(world.next().await, Told::Swept("a".to_owned()));
    assert!(world.tasks.payload(&id).await.unwrap().is_none());
    let kept = crate::task::names::damaged_record(&id);
    assert_eq!(bucket.get(&kept).await.unwrap().unwrap().data, broken);
    dispatcher.stop().await;
}
