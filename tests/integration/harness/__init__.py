# SPDX-License-Identifier: Apache-2.0
"""What the whole-process tests are made of: a gateway, providers that misbehave on command, raw connections."""
