use super::*;

fn read<T: for<'de> serde::Deserialize<'de>>(value: serde_json::Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn service(name: &str, class: Option<&str>) -> Arc<Service> {
    read(serde_json::json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"type": "LoadBalancer", "loadBalancerClass": class},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}},
    }))
}

fn slice(name: &str, of: &str, endpoints: &serde_json::Value) -> Arc<EndpointSlice> {
    read(serde_json::json!({
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": of}},
        "endpoints": endpoints,
    }))
}

#[test]
fn endpoints_are_summed_up_over_all_slices_of_a_service() {
    let services = [service("web", None), service("idle", None), service("foreign", Some("other"))];
    let slices = [
        slice(
            "web-1",
            "web",
            &serde_json::json!([{"nodeName": "n1"}, {"nodeName": "n2", "conditions": {"ready": false}}]),
        ),
        slice("web-2", "web", &serde_json::json!([{"nodeName": "n3"}])),
        slice("gone-1", "gone", &serde_json::json!([{"nodeName": "n4"}])),
    ];
    let found: Vec<_> = candidates(&services, &slices, None)
        .into_iter()
        .map(|candidate| (candidate.service.key.name, candidate.endpoints))
        .collect();
    let web = Endpoints { any: true, nodes: ["n1".to_owned(), "n3".to_owned()].into() };
    assert_eq!(found, [("idle".to_owned(), Endpoints::default()), ("web".to_owned(), web)]);
}

#[test]
fn a_broken_object_is_set_aside_alone() {
    let pool = |name: &str, addresses: serde_json::Value| -> Arc<IPAddressPool> {
        read(serde_json::json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": name}, "spec": {"addresses": addresses},
        }))
    };
    let mut problems = Problems::default();
    let pools =
        vec![pool("good", serde_json::json!(["10.0.0.0/24"])), pool("bad", serde_json::json!(["10.0.0.9"]))];
    let usable = problems.usable("IPAddressPool", pools, IPAddressPool::to_core);
    assert_eq!(usable.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>(), ["good"]);
    let [told] = &problems.now.iter().collect::<Vec<_>>()[..] else { panic!("{problems:?}") };
    assert!(told.starts_with("IPAddressPool bad is not used: "), "{told}");
    problems.told();
    assert_eq!((problems.now.len(), problems.told.len()), (0, 1));
}
