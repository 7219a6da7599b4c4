// Prints, as JSON, what the parser finds wrong with an AsyncAPI document, and the document with its references resolved.
import { Parser, fromFile } from '@asyncapi/parser';

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
const found = diagnostics.map(({ severity, message, path }) => ({ severity, message, path: path.join('.') }));
console.log(JSON.stringify({ diagnostics: found, document: document?.json() ?? null }));
