"""Huawei Cloud Octopus projects: what they are asked, with which token."""
