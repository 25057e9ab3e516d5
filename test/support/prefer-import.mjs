// Where Node.js can `require` ES modules, mocha does so first. That path does not go through the TypeScript loader, and a
// spec whose own text happens to be valid JavaScript then fails on the first TypeScript module it imports. Told that the
// feature is missing, mocha uses `import()`.
Object.defineProperty(process.features, 'require_module', { value: false })
