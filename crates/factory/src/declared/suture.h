/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the author of a fix can say to the factory, beside the code itself.
 *
 * The factory puts this file into the tree that it compiles a fix in: `#include <linux/suture.h>`.
 * Its guide is docs/patch-authors.md.
 */
#ifndef _LINUX_SUTURE_H
#define _LINUX_SUTURE_H

#include <linux/livepatch.h>
#include <linux/stringify.h>

#define __SUTURE_JOIN(a, b) a##b
#define SUTURE_JOIN(a, b) __SUTURE_JOIN(a, b)

/*
 * Callbacks of the object (the image, or a module) that this file is compiled into; one of each
 * kind for an object.
 *
 *	static int prepare(struct klp_object *object) { ... }	an error keeps the patch out
 *	static void done(struct klp_object *object) { ... }
 *	SUTURE_PRE_PATCH(prepare);	before the functions are redirected
 *	SUTURE_POST_PATCH(done);	after every task runs the new code
 *	SUTURE_PRE_UNPATCH(done);	before they are redirected back
 *	SUTURE_POST_UNPATCH(done);	after every task runs the old code
 *
 * For a module that is loaded later they run when it comes and goes. If a later patch replaces
 * this one, the kernel runs the callbacks of the later one only.
 */
#define SUTURE_PRE_PATCH(function)						\
	int SUTURE_JOIN(__suture_pre_patch_, __KBUILD_MODNAME)(struct klp_object *object);	\
	int SUTURE_JOIN(__suture_pre_patch_, __KBUILD_MODNAME)(struct klp_object *object)	\
	{ return function(object); }						\
	struct __suture_eats_semicolon
#define SUTURE_POST_PATCH(function) __SUTURE_CALLBACK(post_patch, function)
#define SUTURE_PRE_UNPATCH(function) __SUTURE_CALLBACK(pre_unpatch, function)
#define SUTURE_POST_UNPATCH(function) __SUTURE_CALLBACK(post_unpatch, function)

#define __SUTURE_CALLBACK(kind, function)					\
	void SUTURE_JOIN(__suture_##kind##_, __KBUILD_MODNAME)(struct klp_object *object);	\
	void SUTURE_JOIN(__suture_##kind##_, __KBUILD_MODNAME)(struct klp_object *object)	\
	{ function(object); }							\
	struct __suture_eats_semicolon

/*
 * SUTURE_STATE(ID, VERSION) says that the patch keeps the state ID in the given version (struct
 * klp_state). A patch that replaces it has to know the state in this version or a later one, or
 * the kernel refuses it. Both are numbers. klp_get_state(suture_patch, ID) finds the state, with
 * a place for a pointer; klp_get_prev_state(ID) that of the patch that is being replaced.
 */
#define SUTURE_STATE(id, version)						\
	static const unsigned long SUTURE_JOIN(__suture_state_, id)[2]		\
	__attribute__((used, section(".suture.states"))) = { id, version }

extern struct klp_patch *const suture_patch;

/*
 * SUTURE_IGNORE_FUNCTION(FUNCTION) and SUTURE_IGNORE_SECTION("SECTION"): the running kernel's
 * version stays in force although the fix changes it. The author answers for that; it is told in
 * every report.
 */
#define SUTURE_IGNORE_FUNCTION(function)					\
	static const void *const SUTURE_JOIN(__suture_ignore_, function)		\
	__attribute__((used, section(".suture.ignore.functions"))) = function
#define SUTURE_IGNORE_SECTION(name)						\
	static const char *const SUTURE_JOIN(__suture_ignore_section_, __LINE__)	\
	__attribute__((used, section(".suture.ignore.sections"))) = name

#endif
