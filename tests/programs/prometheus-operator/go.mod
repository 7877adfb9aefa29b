// The definitions of PodMonitor and ServiceMonitor, to hold ours against. Nothing is built of it, so `go mod tidy` would
// find it unused.
module ferrolb.example/lab-prometheus-operator

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
