// A peer of the bench: ConfigMap, Service, Deployment and status of a PortfolioApp, as a good user of
// controller-runtime writes it: owned children, reads from the cache, a write only where something differs.
package main

import (
	"context"
	"errors"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// workers reconcile side by side.
const workers = 16

type reconciler struct {
	client.Client
	scheme *runtime.Scheme
}

// Reconcile writes what differs, the children first.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	app := &PortfolioApp{}
	if err := r.Get(ctx, request.NamespacedName, app); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !app.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	named := metav1.ObjectMeta{Namespace: app.Namespace, Name: app.Name}
	configMap := &corev1.ConfigMap{ObjectMeta: named}
	service := &corev1.Service{ObjectMeta: named}
	deployment := &appsv1.Deployment{ObjectMeta: named}
	err := errors.Join(
		r.write(ctx, app, configMap, func() { mutateConfigMap(app, configMap) }),
		r.write(ctx, app, service, func() { mutateService(app, service) }),
		r.write(ctx, app, deployment, func() { mutateDeployment(app, deployment) }),
	)
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.tell(ctx, app, deployment)
}

func (r *reconciler) write(ctx context.Context, app *PortfolioApp, child client.Object, mutate func()) error {
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, child, func() error {
		mutate()
		return controllerutil.SetControllerReference(app, child, r.scheme)
	})
	return err
}

func (r *reconciler) tell(ctx context.Context, app *PortfolioApp, deployment *appsv1.Deployment) error {
	before := app.DeepCopy()
	status := &app.Status
	status.ObservedGeneration = app.Generation
	status.Replicas = deployment.Status.Replicas
	status.ReadyReplicas = deployment.Status.ReadyReplicas
	status.Selector = k8slabels.SelectorFromSet(selector(app)).String()
	ready := metav1.Condition{Type: "Ready", ObservedGeneration: app.Generation, Status: metav1.ConditionFalse, Reason: "Progressing"}
	status.Phase = "Progressing"
	if status.ReadyReplicas >= app.Spec.Replicas {
		ready.Status, ready.Reason = metav1.ConditionTrue, "Available"
		status.Phase = "Ready"
	}
	meta.SetStatusCondition(&status.Conditions, ready)
	if equality.Semantic.DeepEqual(before.Status, app.Status) {
		return nil
	}
	return client.IgnoreNotFound(r.Status().Patch(ctx, app, client.MergeFrom(before)))
}

func main() {
	ctrl.SetLogger(zap.New())
	if err := run(); err != nil {
		ctrl.Log.Error(err, "failed")
		os.Exit(1)
	}
}

func run() error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), addToScheme(scheme)); err != nil {
		return err
	}
	manager, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Scheme:  scheme,
		Cache:   cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(manager).
		For(&PortfolioApp{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&corev1.ConfigMap{}).
		Owns(&corev1.Service{}).
		Owns(&appsv1.Deployment{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(&reconciler{Client: manager.GetClient(), scheme: scheme})
	if err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}
