// Lint rules for everything that tsc compiles. Few, and each beyond the presets with its cause.
// Layout is prettier's affair; import direction and cycles are checked by
// test/unit/architecture.test.ts.
import js from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Beginnings that leave a doc comment without a subject, so that an editor's tooltip makes no sense. */
const NO_SUBJECT = /^\*\s*(?:\*\s*)*(Of|As|What|Who|Whether|How|In|For|To|By|With|From|Where|When|Why|See)\b/;

/** A rule against doc comments that do not begin with a noun phrase or a verb. */
const docComment = {
  meta: { type: 'suggestion', schema: [] },
  create: (context) => ({
    Program() {
      for (const comment of context.sourceCode.getAllComments()) {
        const word = comment.type === 'Block' ? NO_SUBJECT.exec(comment.value)?.[1] : undefined;
        if (word === undefined) continue;
        const message = `A doc comment that begins with "${word}" does not say what the thing is.`;
        context.report({ loc: comment.loc, message });
      }
    },
  }),
};

export default defineConfig([
  globalIgnores([
    'dist',
    'runs',
    'coverage',
    // AssemblyScript: it parses as TypeScript but is not. Its types (u32, v128) and its integer division have
    // other rules, so type information, which most rules here need, would be wrong. The compiler checks it.
    'assembly',
  ]),
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // Unions are closed by `satisfies never`, or by naming every case; a new message type
      // must not pass in silence.
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true, requireDefaultForNonUnion: true },
      ],
      // An import of a type costs nothing at run time; let that show.
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      // A signature that others rely on is written, not inferred from a body that may change.
      '@typescript-eslint/explicit-module-boundary-types': 'error',
      // A promise nobody waits for hides its failure: the run then hangs, or ends with exit code 0.
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      // An interface's method may be async because another implementation has to wait.
      '@typescript-eslint/require-await': 'off',
      // `const { _step, ...values } = record` leaves a field out; that is a use of its name.
      '@typescript-eslint/no-unused-vars': ['error', { ignoreRestSiblings: true, argsIgnorePattern: '^_' }],
      // An interface gives a type that zod infers the name by which editors and docs/reference show it.
      '@typescript-eslint/no-empty-object-type': ['error', { allowInterfaces: 'with-single-extends' }],
      eqeqeq: 'error',
    },
  },
  {
    // One name for one thing everywhere: a default export is named anew by each importer.
    files: ['**/*.ts'],
    ignores: ['vitest.config.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        { selector: 'ExportDefaultDeclaration', message: 'Use a named export.' },
      ],
    },
  },
  {
    // What both sides share reports through its logger or by throwing: stdout carries data.
    files: ['src/**/*.ts'],
    rules: { 'no-console': 'error' },
  },
  {
    // The float64 twins of kernels take Math's functions as values, which no reference to `this` can hurt.
    files: ['test/**/*.ts'],
    rules: { '@typescript-eslint/unbound-method': 'off' },
  },
  {
    // Tooltips are read far from the file, so each has to be a sentence of its own.
    files: ['{aggregator,api,bench,bin,coordinator,scripts,src,worker}/**'],
    plugins: { lockstep: { rules: { 'doc-comment': docComment } } },
    rules: { 'lockstep/doc-comment': 'error' },
  },
  {
    // Scripts that run as they are, without a build.
    files: ['**/*.mjs', '**/*.js'],
    languageOptions: {
      globals: { process: 'readonly', Buffer: 'readonly', URL: 'readonly', console: 'readonly' },
    },
  },
]);
