/** The version of this package, as package.json has it: a page in a browser cannot read that. */
export const VERSION = '0.1.0';
