// cert-manager with the issuers that need nobody outside, and what puts authorities into webhook configurations. One
// program in place of its two: the controllers are its own, and of the issuers for ACME and Vault nothing is built.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/cainjector"
	"github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/cert-manager/cert-manager/pkg/util"

	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
)

func main() {
	// A set of its own: the libraries have flags of this name.
	flags := flag.NewFlagSet("cert-manager", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "path of the kubeconfig")
	_ = flags.Parse(os.Args[1:])
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	logs.InitLogs()
	ctx = logs.NewContext(ctx, logs.Log)
	if err := errors.Join(run(ctx, *kubeconfig)...); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig string) []error {
	options := controller.ContextOptions{Kubeconfig: kubeconfig, IssuerOptions: controller.IssuerOptions{ClusterResourceNamespace: "cert-manager"}}
	factory, err := controller.NewContextFactory(ctx, options)
	if err != nil {
		return []error{err}
	}
	var controllers []controller.Interface
	for name, make := range controller.Known() {
		one, err := make(factory)
		if err != nil {
			return []error{fmt.Errorf("%s: %w", name, err)}
		}
		controllers = append(controllers, one)
	}
	injector, err := injector(ctx, kubeconfig)
	if err != nil {
		return []error{err}
	}
	shared, err := factory.Build()
	if err != nil {
		return []error{err}
	}
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())

	ctx, stop := context.WithCancel(ctx)
	errs := make([]error, len(controllers)+1)
	var group sync.WaitGroup
	for at, one := range controllers {
		group.Go(func() { defer stop(); errs[at] = one.Run(1, ctx) })
	}
	group.Go(func() { defer stop(); errs[len(controllers)] = injector.Start(ctx) })
	group.Wait()
	return errs
}

func injector(ctx context.Context, kubeconfig string) (ctrl.Manager, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	// What it writes is told apart by this name.
	config = util.RestConfigWithUserAgent(config, "cainjector")
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiext.AddToScheme, cmapi.AddToScheme} {
		if err := add(known); err != nil {
			return nil, err
		}
	}
	ctrl.SetLogger(logs.Log)
	manager, err := ctrl.NewManager(config, ctrl.Options{Scheme: known, Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		return nil, err
	}
	return manager, cainjector.RegisterAllInjectors(ctx, manager, cainjector.SetupOptions{
		EnableCertificatesDataSource: true,
		EnabledReconcilersFor:        map[string]bool{cainjector.ValidatingWebhookConfigurationName: true},
	})
}
