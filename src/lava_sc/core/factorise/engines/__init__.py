"""Engines that a fit runs on: the CPU, torch and triton."""
