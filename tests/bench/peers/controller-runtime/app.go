// The kind, as far as this operator reads and writes it.
package main

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var groupVersion = schema.GroupVersion{Group: "signalbox.dev", Version: "v1alpha1"}

// PortfolioApp is an application.
type PortfolioApp struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   PortfolioAppSpec   `json:"spec"`
	Status PortfolioAppStatus `json:"status,omitempty"`
}

// PortfolioAppSpec is what the user wants.
type PortfolioAppSpec struct {
	Image    string            `json:"image"`
	Replicas int32             `json:"replicas"`
	Ports    []Port            `json:"ports,omitempty"`
	Config   map[string]string `json:"config,omitempty"`
}

// Port is a port that the app listens on.
type Port struct {
	Name        string `json:"name"`
	Port        int32  `json:"port"`
	ServicePort *int32 `json:"servicePort,omitempty"`
}

// PortfolioAppStatus is what the operator tells.
type PortfolioAppStatus struct {
	ObservedGeneration int64              `json:"observedGeneration"`
	Phase              string             `json:"phase,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
	Replicas           int32              `json:"replicas"`
	ReadyReplicas      int32              `json:"readyReplicas"`
	Selector           string             `json:"selector,omitempty"`
}

// PortfolioAppList is a list of apps.
type PortfolioAppList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []PortfolioApp `json:"items"`
}

func addToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(groupVersion, &PortfolioApp{}, &PortfolioAppList{})
	metav1.AddToGroupVersion(scheme, groupVersion)
	return nil
}

// DeepCopyInto is what controller-gen would write.
func (in *PortfolioApp) DeepCopyInto(out *PortfolioApp) {
	*out = *in
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Spec.Ports = slices.Clone(in.Spec.Ports)
	for i, port := range in.Spec.Ports {
		if port.ServicePort != nil {
			copied := *port.ServicePort
			out.Spec.Ports[i].ServicePort = &copied
		}
	}
	out.Spec.Config = maps.Clone(in.Spec.Config)
	out.Status.Conditions = slices.Clone(in.Status.Conditions)
}

// DeepCopy copies the app.
func (in *PortfolioApp) DeepCopy() *PortfolioApp {
	out := new(PortfolioApp)
	in.DeepCopyInto(out)
	return out
}

// DeepCopyObject implements runtime.Object.
func (in *PortfolioApp) DeepCopyObject() runtime.Object { return in.DeepCopy() }

// DeepCopyObject implements runtime.Object.
func (in *PortfolioAppList) DeepCopyObject() runtime.Object {
	out := new(PortfolioAppList)
	*out = *in
	in.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = make([]PortfolioApp, len(in.Items))
	for i := range in.Items {
		in.Items[i].DeepCopyInto(&out.Items[i])
	}
	return out
}
