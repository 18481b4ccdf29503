// Keeps zod from making code of strings, which the policy of a page may forbid (CSP). Imported before the
// schemas, which try it when they are made. All copies of zod in a page share the setting, which slows them.
import { z } from 'zod';

z.config({ jitless: true });
