// SPDX-License-Identifier: GPL-2.0
/*
 * Gives a linked module its livepatch symbols and relocation sections, which no linker can make
 * (the kernel's Documentation/livepatch/module-elf-format.rst says what they are).
 *
 * A symbol `.klp.sym.OBJECT.NAME,POSITION` gets the section index SHN_LIVEPATCH. Its relocations
 * move to `.klp.rela.PATCHED.SECTION`, where PATCHED is `vmlinux` for a symbol of vmlinux, else
 * what a third component of the name says, which is then cut off, else OBJECT.
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KLP_SYMBOL ".klp.sym."
#define KLP_SECTION 0xff20
#define KLP_FLAG 0x00100000
#define MOST_SECTIONS 0xfe00

static unsigned char *out;
static size_t length;

static void fail(const char *what)
{
	fprintf(stderr, "post-link: %s\n", what);
	exit(1);
}

static void *more(size_t bytes)
{
	size_t start = (length + 7) & ~(size_t)7;

	out = realloc(out, start + bytes);
	if (!out)
		fail("no memory");
	memset(out + length, 0, start + bytes - length);
	length = start + bytes;
	return out + start;
}

static void read_all(const char *path)
{
	FILE *file = fopen(path, "rb");
	size_t got;

	if (!file)
		fail("cannot open the linked module");
	do {
		out = realloc(out, length + 65536);
		if (!out)
			fail("no memory");
		got = fread(out + length, 1, 65536, file);
		length += got;
	} while (got);
	fclose(file);
}

static void inside(unsigned long offset, unsigned long size)
{
	if (offset > length || size > length - offset)
		fail("the file is cut off");
}

/* The object whose relocations hold a symbol, or nothing if it is no livepatch symbol. */
static char *owner_of(const char *name)
{
	const char *object, *dot, *comma;

	if (strncmp(name, KLP_SYMBOL, strlen(KLP_SYMBOL)))
		return NULL;
	object = name + strlen(KLP_SYMBOL);
	dot = strchr(object, '.');
	comma = dot ? strchr(dot, ',') : NULL;
	if (!comma)
		fail("a livepatch symbol without its position");
	if (!strncmp(object, "vmlinux.", 8))
		return strdup("vmlinux");
	comma = strchr(comma + 1, ',');
	return comma ? strdup(comma + 1) : strndup(object, dot - object);
}

int main(int argc, char **argv)
{
	Elf64_Shdr *sections;
	Elf64_Ehdr *header;
	Elf64_Sym *symbols;
	unsigned long count, symbol_count, symtab = 0, at, i, k, names_size;
	char **owners, *names;
	FILE *file;

	if (argc != 3)
		fail("usage: post-link LINKED.ko LIVEPATCH.ko");
	read_all(argv[1]);
	inside(0, sizeof(*header));
	header = (Elf64_Ehdr *)out;
	if (memcmp(header->e_ident, ELFMAG, SELFMAG) || header->e_type != ET_REL)
		fail("this is no linked module");
	count = header->e_shnum;
	inside(header->e_shoff, count * sizeof(*sections));
	if (header->e_shstrndx >= count || count > MOST_SECTIONS / 2)
		fail("these section headers are not understood");

	/* The section headers grow, so they are kept apart until the end. */
	sections = calloc(MOST_SECTIONS, sizeof(*sections));
	if (!sections)
		fail("no memory");
	memcpy(sections, out + header->e_shoff, count * sizeof(*sections));
	for (i = 0; i < count; i++) {
		if (sections[i].sh_type != SHT_NOBITS)
			inside(sections[i].sh_offset, sections[i].sh_size);
		if (sections[i].sh_type == SHT_SYMTAB)
			symtab = i;
	}
	if (!symtab || sections[symtab].sh_link >= count)
		fail("it has no symbols");

	symbols = (Elf64_Sym *)(out + sections[symtab].sh_offset);
	symbol_count = sections[symtab].sh_size / sizeof(*symbols);
	owners = calloc(symbol_count + 1, sizeof(*owners));
	if (!owners)
		fail("no memory");
	for (i = 0; i < symbol_count; i++) {
		Elf64_Shdr *strings = &sections[sections[symtab].sh_link];
		char *name = (char *)out + strings->sh_offset + symbols[i].st_name;

		if (symbols[i].st_name >= strings->sh_size ||
		    !memchr(name, 0, strings->sh_size - symbols[i].st_name))
			fail("a symbol has no name");
		owners[i] = owner_of(name);
		if (!owners[i])
			continue;
		symbols[i].st_shndx = KLP_SECTION;
	}
	/* Cut only now: names may share their ends. */
	for (i = 0; i < symbol_count; i++) {
		char *name = (char *)out + sections[sections[symtab].sh_link].sh_offset +
			     symbols[i].st_name;
		char *comma = owners[i] ? strchr(name, ',') : NULL;

		comma = comma ? strchr(comma + 1, ',') : NULL;
		if (comma)
			*comma = 0;
	}

	names_size = sections[header->e_shstrndx].sh_size;
	names = malloc(names_size);
	if (!names)
		fail("no memory");
	memcpy(names, out + sections[header->e_shstrndx].sh_offset, names_size);

	for (i = 0, at = count; i < count; i++) {
		unsigned long entries = sections[i].sh_size / sizeof(Elf64_Rela), kept = 0, first = at;
		const char *target;

		if (sections[i].sh_type != SHT_RELA || sections[i].sh_flags & KLP_FLAG)
			continue;
		if (sections[i].sh_info >= count)
			fail("relocations of no section");
		target = names + sections[sections[i].sh_info].sh_name;
		for (k = 0; k < entries; k++) {
			Elf64_Rela rela = ((Elf64_Rela *)(out + sections[i].sh_offset))[k];
			unsigned long symbol = ELF64_R_SYM(rela.r_info), new;
			char label[1024];

			if (symbol >= symbol_count)
				fail("a relocation has no symbol");
			if (!owners[symbol]) {
				((Elf64_Rela *)(out + sections[i].sh_offset))[kept++] = rela;
				continue;
			}
			snprintf(label, sizeof(label), ".klp.rela.%s.%s", owners[symbol], target);
			for (new = first; new < at; new++)
				if (!strcmp(names + sections[new].sh_name, label))
					break;
			if (new == at) {
				if (++at == MOST_SECTIONS)
					fail("too many sections");
				sections[new].sh_name = names_size;
				names = realloc(names, names_size + strlen(label) + 1);
				if (!names)
					fail("no memory");
				strcpy(names + names_size, label);
				names_size += strlen(label) + 1;
				target = names + sections[sections[i].sh_info].sh_name;
				sections[new].sh_type = SHT_RELA;
				sections[new].sh_flags = KLP_FLAG | SHF_ALLOC | SHF_INFO_LINK;
				sections[new].sh_link = symtab;
				sections[new].sh_info = sections[i].sh_info;
				sections[new].sh_addralign = 8;
				sections[new].sh_entsize = sizeof(rela);
				/* Room for all; only what is used is written into sh_size. */
				sections[new].sh_offset =
					(unsigned char *)more(entries * sizeof(rela)) - out;
			}
			memcpy(out + sections[new].sh_offset + sections[new].sh_size, &rela,
			       sizeof(rela));
			sections[new].sh_size += sizeof(rela);
		}
		sections[i].sh_size = kept * sizeof(Elf64_Rela);
	}

	header = (Elf64_Ehdr *)out;
	i = header->e_shstrndx;
	sections[i].sh_offset = (unsigned char *)more(names_size) - out;
	sections[i].sh_size = names_size;
	memcpy(out + sections[i].sh_offset, names, names_size);
	k = (unsigned char *)more(at * sizeof(*sections)) - out;
	memcpy(out + k, sections, at * sizeof(*sections));
	header = (Elf64_Ehdr *)out;
	header->e_shoff = k;
	header->e_shnum = at;

	file = fopen(argv[2], "wb");
	if (!file || fwrite(out, 1, length, file) != length || fclose(file))
		fail("cannot write the live patch");
	return 0;
}
