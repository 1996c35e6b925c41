/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kernel: which kernels migrate connections without waking the new listener. Pure.
 *
 * CVE-2026-46015, "tcp: call sk_data_ready() after listener migration": since 5.14, which brought
 * migration, a connection that moves from a closing listener to another is put into its queue
 * without waking who waits there, and that listener can be used after it was freed.
 */
#pragma once

struct kernel_version {
	unsigned major, minor, patch;
};

/*
 * The upstream version of a running kernel. @release and @build are those of uname(2) ("release",
 * "version"); @signature is the content of Ubuntu's /proc/version_signature, "" elsewhere. Debian
 * ("6.1.0-32-amd64") and Ubuntu ("5.15.0-91-generic") say in the latter two which stable release
 * they have really built. -EINVAL: @release is no version.
 */
int kernel_version_parse(const char *release, const char *build, const char *signature,
			 struct kernel_version *ret);

enum kernel_migration {
	KERNEL_HAS_NONE, /* older than 5.14: closing a listener resets what is in its queue */
	KERNEL_AFFECTED, /* *ret_fixed is the first with the fix, if possible of the same series */
	KERNEL_FIXED,
};

enum kernel_migration kernel_migration(const struct kernel_version *version,
				       struct kernel_version *ret_fixed);
