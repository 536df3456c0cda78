// What an app's children look like: each function changes the child as it is into what it should be,
// and leaves what the API server filled in, so that comparing before and after tells whether to write.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const configHash = "peer.signalbox.dev/config-hash"

func labels(app *PortfolioApp) map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":       app.Name,
		"app.kubernetes.io/managed-by": "peer-controller-runtime",
	}
}

func selector(app *PortfolioApp) map[string]string {
	return map[string]string{"app.kubernetes.io/name": app.Name}
}

func put(into *map[string]string, values map[string]string) {
	if *into == nil {
		*into = map[string]string{}
	}
	for key, value := range values {
		(*into)[key] = value
	}
}

func mutateConfigMap(app *PortfolioApp, child *corev1.ConfigMap) {
	put(&child.Labels, labels(app))
	child.Data = app.Spec.Config
}

func mutateService(app *PortfolioApp, child *corev1.Service) {
	put(&child.Labels, labels(app))
	child.Spec.Selector = selector(app)
	ports := make([]corev1.ServicePort, len(app.Spec.Ports))
	for i, port := range app.Spec.Ports {
		// What the API server chose for a port stays.
		if i < len(child.Spec.Ports) {
			ports[i] = child.Spec.Ports[i]
		}
		ports[i].Name = port.Name
		ports[i].Protocol = corev1.ProtocolTCP
		ports[i].Port = port.Port
		if port.ServicePort != nil {
			ports[i].Port = *port.ServicePort
		}
		ports[i].TargetPort = intstr.FromInt32(port.Port)
	}
	child.Spec.Ports = ports
}

func mutateDeployment(app *PortfolioApp, child *appsv1.Deployment) {
	put(&child.Labels, labels(app))
	child.Spec.Replicas = &app.Spec.Replicas
	if child.Spec.Selector == nil {
		child.Spec.Selector = &metav1.LabelSelector{MatchLabels: selector(app)}
	}
	template := &child.Spec.Template
	put(&template.Labels, labels(app))
	put(&template.Annotations, map[string]string{configHash: hashOf(app.Spec.Config)})
	if len(template.Spec.Containers) != 1 {
		template.Spec.Containers = make([]corev1.Container, 1)
	}
	container := &template.Spec.Containers[0]
	container.Name = "app"
	container.Image = app.Spec.Image
	container.EnvFrom = []corev1.EnvFromSource{{
		ConfigMapRef: &corev1.ConfigMapEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: app.Name},
		},
	}}
	ports := make([]corev1.ContainerPort, len(app.Spec.Ports))
	for i, port := range app.Spec.Ports {
		ports[i] = corev1.ContainerPort{Name: port.Name, ContainerPort: port.Port, Protocol: corev1.ProtocolTCP}
	}
	container.Ports = ports
}

// hashOf makes pods restart when their configuration changes. JSON sorts the keys.
func hashOf(config map[string]string) string {
	text, _ := json.Marshal(config)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
