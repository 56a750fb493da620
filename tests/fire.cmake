# Fire: what happens when the program is ended, refused, cut off or fed with rubbish. fire/README.md says what each part proves.

# The program with small pieces, so that a few hundred kB of a download cross as many checkpoints as gigabytes do, and with little patience for a database
# that is locked. All else is the product.
add_executable(provision-fire ${CMAKE_SOURCE_DIR}/cli/main.c ${transfer_sources} ${CMAKE_SOURCE_DIR}/cache/database.c)
target_compile_definitions(provision-fire PRIVATE ${small_pieces} DATABASE_BUSY_MS=100)
target_link_libraries(provision-fire PRIVATE clilib)

if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  add_executable(strike fire/strike.c)
  target_link_libraries(strike PRIVATE base)
endif()
include(fire/fuzz.cmake)

# Power cuts: the recorder, the stat data of a disk that comes back, and a bounded sample of states. All of them: fire/README.md.
# Without provision_flags: they stand in for functions of the C library, or run under what does, and no sanitizer may stand between.
foreach(tool cutlog cutstat)
  add_library(${tool} MODULE fire/${tool}.c)
endforeach()
add_executable(stand_in fire/stand_in.c)
foreach(tool cutlog cutstat stand_in)
  target_compile_definitions(${tool} PRIVATE _GNU_SOURCE)
  target_compile_options(${tool} PRIVATE -Wall -Wextra -Wpedantic -Wshadow $<$<BOOL:${PROVISION_WERROR}>:-Werror>)
  target_link_libraries(${tool} PRIVATE ${CMAKE_DL_LIBS} Threads::Threads)
endforeach()
add_test(NAME fire/cut COMMAND ${PROVISION_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/fire/cut --programs ${CMAKE_CURRENT_BINARY_DIR} --seconds 45)
# That each mutant still fits the sources; killing them all takes minutes: fire/mutate --all.
add_test(NAME fire/mutants COMMAND ${PROVISION_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/fire/mutate --check)
set_tests_properties(fire/cut fire/mutants PROPERTIES TIMEOUT 600 ENVIRONMENT "PYTHONDONTWRITEBYTECODE=1")

# Every system call killed or refused: a sample of them. All: fire/sweep --all. A sanitizer would be swept more than the program.
if(TARGET strike AND NOT PROVISION_SANITIZE)
  add_test(NAME fire/sweep COMMAND ${PROVISION_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/fire/sweep --seconds 75 --seed 1
    --kind change --kind error)
  add_test(NAME fire/oracle COMMAND ${PROVISION_PYTHON} -m pytest -q -p no:cacheprovider ${CMAKE_CURRENT_SOURCE_DIR}/fire/oracle_test.py)
  add_test(NAME fire/found COMMAND ${PROVISION_PYTHON} -m pytest -q -p no:cacheprovider ${CMAKE_CURRENT_SOURCE_DIR}/fire/found_test.py)
  set_tests_properties(fire/sweep fire/oracle fire/found PROPERTIES TIMEOUT 600 ENVIRONMENT
    "FIRE_TOOLS=${CMAKE_CURRENT_BINARY_DIR};PYTHONDONTWRITEBYTECODE=1")
endif()
