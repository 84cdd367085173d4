"""Partitions of ``twap_status`` by UTC month, which are optional: conversion, new months, archive and restore."""
