"""Huawei Cloud Octopus projects: connections, tokens and collectors."""
