// Must be imported before msgpackr, which reads this variable while it loads: without it an optional native
// addon extracts strings, scanning past the value it is given, and two machines would run different code.
process.env['MSGPACKR_NATIVE_ACCELERATION_DISABLED'] = 'true';
