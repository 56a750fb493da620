# unit_test lines of this folder
unit_test(cache/crash cache engine base)
unit_test(cache/history cache engine base PkgConfig::SQLITE)
unit_test(cache/ledger cache engine base PkgConfig::SQLITE)
unit_test(cache/lock cache engine base)
unit_test(cache/reading cache engine base)
