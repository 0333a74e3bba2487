# SPDX-License-Identifier: Apache-2.0
# What `make install` puts beside the binary. The unit goes to PREFIX/lib/systemd/system, which systemd reads for
# /usr and /usr/local alike, with the binary's real path in it.
dist_man_MANS = packaging/jitney.1
completionsdir = $(datadir)/bash-completion/completions
examplesdir = $(docdir)/examples
dist_examples_DATA = examples/jitney.yaml examples/minimal.yaml examples/demo.yaml examples/envelope.yaml \
	examples/graphql.yaml examples/key_list.yaml examples/processes.yaml examples/proxy/nginx.conf examples/proxy/Caddyfile \
	packaging/programs.conf packaging/prometheus/jitney.rules.yml packaging/prometheus/jitney.test.yml packaging/grafana/jitney.json
dist_doc_DATA = README.md ARCHITECTURE.md NEWS.md LICENSE
# Beside README.md, which links to them as docs/*.md.
docsdir = $(docdir)/docs
dist_docs_DATA = $(wildcard $(srcdir)/docs/*.md) $(wildcard $(srcdir)/docs/*.svg) $(wildcard $(srcdir)/docs/*.png) docs/jitney.schema.json
EXTRA_DIST += packaging/jitney.service packaging/jitney.socket packaging/jitney.bash

install-data-local:
	$(MKDIR_P) '$(DESTDIR)$(systemdsystemunitdir)' '$(DESTDIR)$(completionsdir)'
	$(SED) 's|/usr/bin/jitney|$(bindir)/jitney|' '$(srcdir)/packaging/jitney.service' \
		>'$(DESTDIR)$(systemdsystemunitdir)/jitney.service'
	$(INSTALL_DATA) '$(srcdir)/packaging/jitney.socket' '$(DESTDIR)$(systemdsystemunitdir)/jitney.socket'
	$(INSTALL_DATA) '$(srcdir)/packaging/jitney.bash' '$(DESTDIR)$(completionsdir)/jitney'

uninstall-local:
	rm -f '$(DESTDIR)$(systemdsystemunitdir)/jitney.service' '$(DESTDIR)$(systemdsystemunitdir)/jitney.socket' '$(DESTDIR)$(completionsdir)/jitney'
EXTRA_DIST += packaging/grafana/make.py
